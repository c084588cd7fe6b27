"""What is told before anything is trained: of the config, of the job, of its recipes, networks and selectors."""
