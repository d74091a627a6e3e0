"""What the columns of another program's table mean: their units, what they count from, which colour and file."""
