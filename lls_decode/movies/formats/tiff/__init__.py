"""TIFF as movies: plain stacks, ImageJ, OME-TIFF and Micro-Manager stacks, of one file or many.

`pages` finds what a file holds, byte for byte; `descriptions` and `ome` read what it says of itself; `images` brings
both together as frames with axes; `decoding` reads pixels; `movies` gives the `Movie`.
"""
