"""Movie formats of camera manufacturers: Andor Solis, Hamamatsu."""
