"""What a store holds: figures, what looks wrong, pages, pictures and recordings of it."""
