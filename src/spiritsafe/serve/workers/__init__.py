"""Models in processes of their own, as the server talks to them."""
