"""Running a plan: the run loop, the tasks that it submits to workers, and how it ends or is interrupted."""
