"""Tables for people and for other programs: pictures and files."""
