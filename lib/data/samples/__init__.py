"""The bundled samples."""
