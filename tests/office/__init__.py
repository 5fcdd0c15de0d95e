"""What goes through LibreOffice; run by `make office`."""
