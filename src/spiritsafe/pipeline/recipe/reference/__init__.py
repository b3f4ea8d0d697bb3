"""What a recipe may say, told to people and to editors."""
