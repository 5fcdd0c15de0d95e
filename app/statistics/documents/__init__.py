"""Documents of figures: the rectification ledger and the overdue list as sheets, the bulletin (通报)."""
