"""Planning: turn a request into a frozen, checked plan of dataset, model and blocks, before any worker is started."""
