"""Loaders: ``(folder: Path | None, **own arguments) -> DataSet``.

``folder`` holds the files, or holds a folder with the data set's name that does; data sets that
ship with scikit-learn need none. A loader writes nothing unless it is told where.
"""
