"""What people and their programs read: the card with its table, Ollama's Modelfile, container files."""
