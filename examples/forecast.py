"""Forecast the next day of an hourly series, with intervals: a list, an array, or a Series of pandas."""

import numpy as np

import perturbax as px

hours = np.arange(24 * 60)
noise = np.random.default_rng(0).normal(size=len(hours))
load = 50 + 10 * np.sin(hours * 2 * np.pi / 24) + noise
forecaster = px.Forecaster(rule="mirror", horizon=24, units=32, passes=600, test=0.15).fit(load)
forecast = forecaster.predict()  # the 24 rows after the last one
low, high = forecaster.predict_interval(coverage=0.8)[:, 0, 0].T
for row in (0, 23):
    print(f"row {row + 1} ahead: {forecast[row]:.1f}, with 80 % between {low[row]:.1f} and {high[row]:.1f}")
print(f"held back: mae {forecaster.result_.summary['test']['mae']:.2f}, noise {np.abs(noise).mean():.2f}")
