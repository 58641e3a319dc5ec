"""Navigation logs of other projects, and of any robot, brought into the store."""
