"""Movies that software of microscope makers writes: Zeiss, Nikon, MetaMorph."""
