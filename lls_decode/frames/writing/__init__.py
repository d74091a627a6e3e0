"""Writing of stores: their layout, and the checksums stored in them."""
