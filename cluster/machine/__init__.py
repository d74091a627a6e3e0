"""Workers on this machine: processes on its cores, or one process for each GPU."""
