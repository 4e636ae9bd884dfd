"""Images with a class for each pixel: reading, checking, augmenting and batching them."""
