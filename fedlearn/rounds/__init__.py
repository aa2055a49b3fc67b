"""One round as two state machines that exchange messages: no sockets, no clock, no threads."""
