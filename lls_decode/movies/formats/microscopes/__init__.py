"""Movie formats of microscope software: Zeiss, Nikon, MetaMorph."""
