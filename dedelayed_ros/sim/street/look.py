"""What a seed decides about light, weather, surfaces and the camera's sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def stream(seed: int, *path: int) -> np.random.Generator:
    """An independent generator for one purpose within a seed: the same numbers on every run."""
    return np.random.default_rng([seed, *[p + 1_000_000 for p in path]])


def tileable_noise(rng: np.random.Generator, size: int = 512) -> np.ndarray:
    """uint8 [size, size, 4]: fine grain, broad blotches, clumps, and cracks; each wraps around at the border."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size))
    f[0, 0] = 1.0

    def field(slope: float, low: float, high: float) -> np.ndarray:
        spectrum = f**-slope * (f >= low) * np.exp(-((f / high) ** 2))
        x = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * spectrum).real
        return (x - x.mean()) / x.std()

    fine = field(rng.uniform(0.25, 0.7), 6, size)
    broad = field(rng.uniform(1.1, 1.5), 2, 120)
    clumps = field(0.6, 8, rng.uniform(40, 70))
    veins = field(1.2, 3, 60)
    channels = [0.5 + 0.17 * fine, 0.5 + 0.2 * broad, 0.5 + 0.2 * clumps, 0.5 + 0.2 * veins]
    return (np.clip(np.stack(channels, -1), 0, 1) * 255).astype(np.uint8)


Colour = tuple[float, float, float]


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    return tuple(x * (1 - t) + y * t for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class Look:
    """Light, weather and sensor of a clip. Colours are linear light."""

    noise: np.ndarray  # uint8 [n, n, 4]
    sun: Colour  # unit vector towards it
    sun_colour: Colour
    sky_up: Colour
    sky_side: Colour
    bounce: Colour
    haze: float  # 1/m
    exposure: float
    wet: float
    lamps: float
    shadow_depth: float
    cloud: tuple[float, float, float, float]
    asphalt: tuple[float, float, float, float]
    paver: tuple[float, float]
    paint: float
    cast: Colour
    tone: tuple[float, float, float, float]  # contrast, saturation, black, vignette
    sensor: tuple[float, float, float]  # noise, blur, noise of dark parts
    leaf: Colour
    grass: Colour

    @classmethod
    def of(cls, seed: int) -> Look:
        """The look that a seed stands for."""
        rng = stream(seed, 1)
        u = rng.uniform
        kind = rng.choice(['clear', 'cloudy', 'overcast', 'golden', 'dusk'], p=[0.3, 0.24, 0.24, 0.12, 0.1])
        azimuth = u(-np.pi, np.pi)
        height = {
            'clear': u(0.5, 1.2),
            'cloudy': u(0.5, 1.2),
            'overcast': u(1.2, 1.45),
            'golden': u(0.2, 0.4),
            'dusk': u(1.2, 1.4),
        }
        elevation = height[str(kind)]
        sun = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
        sun_colour, up, side, shadow, cover = {
            'clear': ((1.5, 1.38, 1.2), (0.24, 0.40, 0.72), (0.62, 0.70, 0.80), 0.95, u(0.1, 0.5)),
            'cloudy': ((1.0, 0.95, 0.88), (0.34, 0.44, 0.60), (0.72, 0.76, 0.80), 0.85, u(0.55, 0.8)),
            'overcast': ((0.32, 0.32, 0.32), (0.60, 0.63, 0.67), (0.78, 0.80, 0.82), 0.8, u(0.85, 1.0)),
            'golden': ((1.7, 1.12, 0.62), (0.22, 0.30, 0.50), (0.80, 0.62, 0.46), 0.92, u(0.2, 0.7)),
            'dusk': ((0.10, 0.10, 0.12), (0.14, 0.18, 0.28), (0.30, 0.29, 0.30), 0.7, u(0.4, 0.9)),
        }[str(kind)]
        warm = float(rng.normal(0, 0.035))
        tint = (1 + warm, 1.0, 1 - warm)
        side = tuple(np.multiply(side, tint))
        wet = (
            float(u(0.3, 1.0)) if rng.random() < (0.35 if kind in ('overcast', 'dusk') else 0.1) else float(u(0, 0.12))
        )
        haze = float(np.exp(u(np.log(0.0004), np.log(0.004))))
        if rng.random() < 0.1:
            haze = float(u(0.006, 0.02))
        ground = u(0.08, 0.22)
        asphalt = _mix((ground, ground, ground), (ground * 1.15, ground, ground * 0.84), u(-0.5, 1.0))
        season = rng.choice(['summer', 'spring', 'autumn', 'dry'], p=[0.5, 0.2, 0.18, 0.12])
        leaf = {
            'summer': (0.055, 0.115, 0.03),
            'spring': (0.10, 0.17, 0.04),
            'autumn': (0.25, 0.13, 0.03),
            'dry': (0.13, 0.13, 0.06),
        }
        grass = {
            'summer': (0.07, 0.12, 0.03),
            'spring': (0.10, 0.17, 0.04),
            'autumn': (0.15, 0.14, 0.05),
            'dry': (0.22, 0.18, 0.09),
        }
        bright = 1.0 if kind != 'dusk' else u(1.2, 2.0)
        ground_bounce = tuple(
            0.5 * (0.4 * s + 0.35 * c * np.sin(elevation)) * 0.6 for s, c in zip(side, sun_colour, strict=True)
        )
        warm, green = rng.normal(0, 0.04), rng.normal(0, 0.012)
        cast = np.array([1 + warm, 1 + green, 1 - warm])
        return cls(
            noise=tileable_noise(stream(seed, 2)),
            sun=tuple(map(float, sun)),  # type: ignore[arg-type]
            sun_colour=sun_colour,
            sky_up=up,
            sky_side=side,
            bounce=ground_bounce,
            haze=haze,
            exposure=float(np.exp(rng.normal(-0.25, 0.25)) * bright),
            wet=wet,
            lamps={'dusk': 1.0, 'golden': 0.25}.get(str(kind), float(rng.random() < 0.2) * 0.3),
            shadow_depth=shadow,
            cloud=(float(cover), float(u(0, 1)), float(u(0, 1)), float(u(0.08, 0.3))),
            asphalt=(*asphalt, float(u(0.5, 1.2))),
            paver=(float(u(0.2, 1.0)), float(u(0.2, 0.6))),
            paint=float(u(0.35, 0.75)),
            cast=tuple(cast / cast.mean()),
            tone=(float(u(0.95, 1.3)), float(u(0.65, 1.25)), float(u(-0.03, 0.03)), float(u(0.0, 0.25))),
            sensor=(float(u(0.0, 0.018)), float(u(0.0, 0.55)), float(u(0.0, 0.03))),
            leaf=leaf[str(season)],
            grass=grass[str(season)],
        )

    def uniforms(self) -> dict[str, object]:
        """Values for the shaders' uniforms of this look."""
        return {
            'u_sun': self.sun,
            'u_sun_colour': self.sun_colour,
            'u_sky_up': self.sky_up,
            'u_sky_side': self.sky_side,
            'u_bounce': self.bounce,
            'u_haze': self.haze,
            'u_exposure': self.exposure,
            'u_wet': self.wet,
            'u_lamps': self.lamps,
            'u_shadow_depth': self.shadow_depth,
            'u_cloud': self.cloud,
            'u_asphalt': self.asphalt,
            'u_paver': self.paver,
            'u_paint': self.paint,
            'u_cast': self.cast,
            'u_tone': self.tone,
        }
