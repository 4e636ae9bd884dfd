"""What is wrong with a data set, before training: `python -m seglit.doctor +experiment=... data.root=...`."""
