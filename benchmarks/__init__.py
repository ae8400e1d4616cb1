"""What proves the speed, side by side with a loop without any of our code: `make bench`."""
