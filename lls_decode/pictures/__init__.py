"""Pictures of tables and of single volumes: rendering, pyramids of any size, figures with scale and colour bars."""
