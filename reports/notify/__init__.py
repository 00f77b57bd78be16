"""Messages out of the house: facts rendered, sent over channels, retried until they are in or dead."""
