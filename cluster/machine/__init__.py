"""Workers on this machine: processes on its cores, or one for each of its GPUs."""
