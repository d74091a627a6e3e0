"""Movies in TIFF files: plain stacks, ImageJ, OME-TIFF and Micro-Manager stacks, in one or more files.

`pages` finds the pages of a file and accounts for every byte. `descriptions` and `ome` read the metadata. `files` and
`members` combine pages and metadata to frames with axes. `decoding` reads pixels, and `movies` makes the `Movie`.
"""
