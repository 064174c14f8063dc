"""What simple models score on the rows of a task: what a recurrent network has to beat to be worth its training."""
