"""How a camera sees them: rasteriser, rays, shading, sensors."""
