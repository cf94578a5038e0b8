"""The CPU reference: interpreters for model, task and vm programs, in numpy."""
