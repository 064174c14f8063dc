"""What two things cost against each other, timed so that the figures can be trusted."""
