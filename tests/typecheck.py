"""The type checker of the test run: beartype, taking an int for a float as Python's type system does."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
