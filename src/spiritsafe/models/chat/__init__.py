"""What a chat is made of: the template's options and rendering, markers, and the ways in which models mark thoughts."""
