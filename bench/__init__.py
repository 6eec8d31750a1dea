"""Programs that compare Everlog with a floor or a peer in one run, and print the ratio."""
