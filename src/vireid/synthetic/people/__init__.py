"""Who is drawn: bodies, clothes, hair, things carried, poses."""
