"""What pages cost where there is much: PostgreSQL's plans over a million deliveries."""
