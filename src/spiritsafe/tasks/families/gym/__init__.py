"""Any generator of reasoning-gym."""
