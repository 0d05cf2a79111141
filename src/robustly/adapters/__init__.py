"""Models in, data in: what the user has, made into a `Model` and `Data`, and checked once at the border."""
