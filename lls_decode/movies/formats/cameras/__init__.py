"""Movies that software of camera makers writes: Andor Solis, Hamamatsu."""
