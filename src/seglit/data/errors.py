"""What is wrong with the data on disk."""


class DataError(ValueError):
    """A file or folder of the data set is not as stated. Names the file, the place in it, and the mend."""
