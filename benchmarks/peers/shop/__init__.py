"""The work that every peer gets: orders are saved."""
