"""Connections before they are requests or sockets: accepted, counted by address, and handed to whom they are for."""
