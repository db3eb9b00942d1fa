//! Panels of a line each, one under the other, as a PNG file.
//!
//! Invariant: every panel begins at zero, so that what is flat looks flat.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

use async_compression::tokio::write::ZlibEncoder;
use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_7X13;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor, WebColors};
use embedded_graphics::primitives::{Line, Polyline, Primitive, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Text};
use futures::executor::block_on;
use tokio::io::AsyncWriteExt;

const WIDTH: u32 = 1000;
const PANEL: u32 = 200;
const LEFT: i32 = 90;
const MARGIN: i32 = 30;

/// What one panel shows: values of each moment, in a unit.
pub struct Panel<'a> {
    pub title: &'a str,
    pub values: Vec<f64>,
}

/// Draws panels over `seconds`.
pub fn draw(file: &Path, seconds: f64, panels: &[Panel<'_>]) -> Result<(), Box<dyn Error>> {
    let height = PANEL * panels.len() as u32;
    let mut picture = Picture::new(WIDTH, height);
    for (index, panel) in panels.iter().enumerate() {
        panel.draw(&mut picture, (PANEL * index as u32) as i32, seconds)?;
    }
    picture.save(file)
}

impl Panel<'_> {
    fn draw(&self, picture: &mut Picture, top: i32, seconds: f64) -> Result<(), Infallible> {
        let black = MonoTextStyle::new(&FONT_7X13, Rgb888::BLACK);
        let axis = PrimitiveStyle::with_stroke(Rgb888::CSS_GRAY, 1);
        let most = self.values.iter().copied().fold(1.0, f64::max) * 1.1;
        let (right, bottom) = (WIDTH as i32 - MARGIN, top + PANEL as i32 - MARGIN);
        let (width, height) = (f64::from(right - LEFT), f64::from(bottom - top - MARGIN));
        let place = |at: f64, value: f64| {
            Point::new(LEFT + (at * width) as i32, bottom - (value / most * height) as i32)
        };
        Text::new(self.title, Point::new(LEFT, top + 18), black).draw(picture)?;
        for end in [place(1.0, 0.0), place(0.0, most)] {
            Line::new(place(0.0, 0.0), end).into_styled(axis).draw(picture)?;
        }
        for (share, value) in [(0.0, "0".to_owned()), (1.0, format!("{most:.0}"))] {
            let at = place(0.0, share * most) - Point::new(8, -4);
            Text::with_alignment(&value, at, black, Alignment::Right).draw(picture)?;
        }
        let end = format!("{seconds:.0} s");
        let at = place(1.0, 0.0) + Point::new(0, 16);
        Text::with_alignment(&end, at, black, Alignment::Right).draw(picture)?;
        let last = (self.values.len().max(2) - 1) as f64;
        let points = self.values.iter().enumerate();
        let points: Vec<_> = points.map(|(at, value)| place(at as f64 / last, *value)).collect();
        let line = PrimitiveStyle::with_stroke(Rgb888::CSS_STEEL_BLUE, 2);
        Polyline::new(&points).into_styled(line).draw(picture)
    }
}

/// Pixels, row by row.
struct Picture {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl Picture {
    fn new(width: u32, height: u32) -> Self {
        Picture { width, height, bytes: vec![u8::MAX; (width * height * 3) as usize] }
    }

    /// <https://www.w3.org/TR/png-3/>
    fn save(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        // Each row begins with the number of its filter: none.
        let rows = self.bytes.chunks(self.width as usize * 3);
        let rows: Vec<u8> =
            rows.flat_map(|row| [0].into_iter().chain(row.iter().copied())).collect();
        let mut zlib = ZlibEncoder::new(Vec::new());
        block_on(async {
            zlib.write_all(&rows).await?;
            zlib.shutdown().await
        })?;
        let (width, height) = (self.width.to_be_bytes(), self.height.to_be_bytes());
        // Eight bits of each of red, green and blue.
        let header = [&width[..], &height, &[8, 2, 0, 0, 0]].concat();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in [(b"IHDR", header), (b"IDAT", zlib.into_inner()), (b"IEND", vec![])] {
            let named = [&kind[..], &data].concat();
            png.extend((data.len() as u32).to_be_bytes());
            png.extend(&named);
            png.extend(crc32fast::hash(&named).to_be_bytes());
        }
        Ok(std::fs::write(file, png)?)
    }
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Picture {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let (width, height) = (self.width as i32, self.height as i32);
        for Pixel(Point { x, y }, color) in pixels {
            if (0..width).contains(&x) && (0..height).contains(&y) {
                let at = ((y * width + x) * 3) as usize;
                self.bytes[at..at + 3].copy_from_slice(&[color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
