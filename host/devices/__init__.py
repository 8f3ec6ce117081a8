"""What an operator can be assigned to: the devices, each with its memory, title and colours."""
