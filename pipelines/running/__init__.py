"""The one loop that runs a plan, what it submits to workers, and what ends or interrupts it."""
