//! zonal
