//! A surface to draw on, in points; plotters makes the SVG, and the PNG is rendered from that SVG: one drawing path.
//!
//! Text is measured with the font that this crate carries, and named `sans-serif` in the SVG, so a browser shows it
//! in a font of its own. The carried font (`DejaVu` Sans) is among the widest, so what was laid out with it fits.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use plotters::{
    coord::Shift,
    element::{Circle, DashedPathElement, PathElement, Polygon, Rectangle, Text},
    prelude::{DrawingArea, IntoDrawingArea, SVGBackend},
    style::{
        Color as _, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};
use resvg::{tiny_skia, usvg};

use super::axis::clip;
use crate::error::DrawingError;

/// A colour.
pub type Color = RGBColor;

/// Text and axes.
pub const INK: Color = RGBColor(34, 34, 34);
/// Text of the second rank.
pub const GREY: Color = RGBColor(102, 102, 102);
/// Grid lines.
pub const FAINT: Color = RGBColor(225, 225, 225);
/// Paper.
pub const WHITE: Color = RGBColor(255, 255, 255);

/// Colours that the colour-blind tell apart (Okabe and Ito 2008).
pub const OKABE_ITO: [Color; 6] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// plotters places whole pixels: this many of them make a point, so that curves stay smooth.
const PIXELS: f64 = 2.0;
/// plotters gives a font's size as its line height, this many times the size that CSS means.
const LINE_HEIGHT: f64 = 1.24;
const FAMILY: &str = "sans-serif";

/// A place on the canvas, in points from its upper left corner.
pub type Place = (f64, f64);

/// How a line looks. Lines differ in dash and colour, so that they can be told apart in grey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub color: Color,
    /// Its width in points.
    pub width: f64,
    /// Lengths of dash and gap in points; none for an unbroken line.
    pub dash: Option<(i32, i32)>,
}

/// The mark of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// ●
    Circle,
    /// ■
    Square,
    /// ▲
    Triangle,
    /// ◆
    Diamond,
    /// ▼
    Wedge,
    /// ✕
    Cross,
}

/// The look of the line or arm number `index`: colour, dash and marker all differ from its neighbours'.
pub fn style(index: usize) -> (Stroke, Marker) {
    const DASHES: [Option<(i32, i32)>; 6] =
        [None, Some((7, 3)), Some((2, 2)), Some((12, 3)), Some((4, 4)), Some((1, 3))];
    const MARKERS: [Marker; 6] =
        [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Wedge, Marker::Cross];
    // From the seventh on, a colour comes back with another dash and marker.
    let (color, shifted) = (index % 6, (index + index / 6) % 6);
    (Stroke { color: OKABE_ITO[color], width: 1.6, dash: DASHES[shifted] }, MARKERS[shifted])
}

/// Where text stands about its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Right of the place.
    Left,
    /// Centred on it.
    Center,
    /// Left of it.
    Right,
}

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lettering {
    /// CSS points.
    pub size: f64,
    /// Its colour.
    pub color: Color,
    /// Whether it is bold.
    pub bold: bool,
}

/// Labels and ticks.
pub const LABEL: Lettering = Lettering { size: 12.0, color: INK, bold: false };
/// A figure's title.
pub const TITLE: Lettering = Lettering { size: 14.0, color: INK, bold: true };

/// A drawing in progress.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws on white paper of the given size in points; gives the SVG document.
pub fn draw(
    (width, height): (f64, f64),
    title: &str,
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), DrawingError>,
) -> Result<String, DrawingError> {
    register_fonts();
    let size = ((width * PIXELS).ceil() as u32, (height * PIXELS).ceil() as u32);
    let mut svg = String::new();
    let canvas = Canvas { area: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
    canvas.area.fill(&WHITE)?;
    paint(&canvas)?;
    canvas.area.present()?;
    drop(canvas);
    // The document's size is in points; its inner coordinates stay in plotters' pixels.
    let header = format!("width=\"{}\" height=\"{}\" viewBox", size.0, size.1);
    let described = format!(
        "role=\"img\" aria-label=\"{}\" width=\"{}\" height=\"{}\" viewBox",
        crate::table::escape_html(title),
        width.ceil(),
        height.ceil()
    );
    Ok(svg.replacen(&header, &described, 1))
}

/// The width of `text` in points. Also right before anything is drawn.
pub fn text_width(text: &str, lettering: Lettering) -> f64 {
    register_fonts();
    let style = text_style(lettering, Align::Left, VPos::Center);
    let width = style.font.layout_box(text).map_or(0, |((left, _), (right, _))| right - left);
    f64::from(width) / PIXELS
}

/// `text`, its middle replaced by an ellipsis where it is longer than `most` points: beginnings and ends of names
/// tell more than middles.
pub fn shortened(text: &str, lettering: Lettering, most: f64) -> String {
    if text_width(text, lettering) <= most {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    (1..letters.len())
        .rev()
        .map(|kept| {
            let (head, tail) = (kept.div_ceil(2), kept / 2);
            let tail = &letters[letters.len() - tail..];
            letters[..head].iter().chain(['…'].iter()).chain(tail).collect::<String>()
        })
        .find(|shorter| text_width(shorter, lettering) <= most)
        .unwrap_or_else(|| "…".to_owned())
}

impl Canvas<'_> {
    /// A line through `places`.
    pub fn line(&self, places: &[Place], stroke: Stroke) -> Result<(), DrawingError> {
        let style = ShapeStyle {
            color: stroke.color.to_rgba(),
            filled: false,
            stroke_width: (stroke.width * PIXELS).round() as u32,
        };
        let path: Vec<(i32, i32)> = places.iter().copied().map(pixel).collect();
        match stroke.dash {
            None => self.area.draw(&PathElement::new(path, style)),
            Some((dash, gap)) => {
                let scale = PIXELS as i32;
                self.area.draw(&DashedPathElement::new(path, dash * scale, gap * scale, style))
            }
        }
    }

    /// A filled shape. `opacity` 1 hides what is below.
    pub fn polygon(&self, places: &[Place], color: Color, opacity: f64) -> Result<(), DrawingError> {
        let path: Vec<(i32, i32)> = places.iter().copied().map(pixel).collect();
        self.area.draw(&Polygon::new(path, color.mix(opacity).filled()))
    }

    /// A filled rectangle between two corners.
    pub fn rectangle(&self, from: Place, to: Place, color: Color, opacity: f64) -> Result<(), DrawingError> {
        self.area.draw(&Rectangle::new([pixel(from), pixel(to)], color.mix(opacity).filled()))
    }

    /// A marker of the given radius in points.
    pub fn marker(
        &self,
        marker: Marker,
        (x, y): Place,
        radius: f64,
        color: Color,
        opacity: f64,
    ) -> Result<(), DrawingError> {
        let shape: &[Place] = match marker {
            Marker::Circle => {
                let radius = (radius * PIXELS).round() as i32;
                return self.area.draw(&Circle::new(pixel((x, y)), radius, color.mix(opacity).filled()));
            }
            Marker::Cross => {
                let r = radius * 0.85;
                let stroke = Stroke { color, width: (radius / 2.5).max(1.0), dash: None };
                self.line(&[(x - r, y - r), (x + r, y + r)], stroke)?;
                return self.line(&[(x - r, y + r), (x + r, y - r)], stroke);
            }
            Marker::Square => &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            Marker::Triangle => &[(0.0, -1.1), (1.0, 0.8), (-1.0, 0.8)],
            Marker::Wedge => &[(0.0, 1.1), (1.0, -0.8), (-1.0, -0.8)],
            Marker::Diamond => &[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)],
        };
        let places: Vec<Place> = shape.iter().map(|(dx, dy)| (x + dx * radius, y + dy * radius)).collect();
        self.polygon(&places, color, opacity)
    }

    /// Text, its middle height at `place`.
    pub fn text(
        &self,
        text: &str,
        place: Place,
        align: Align,
        lettering: Lettering,
    ) -> Result<(), DrawingError> {
        self.area.draw(&Text::new(text.to_owned(), pixel(place), text_style(lettering, align, VPos::Center)))
    }

    /// Text that reads upwards, centred on `place`.
    pub fn text_upwards(&self, text: &str, place: Place, lettering: Lettering) -> Result<(), DrawingError> {
        let mut style = text_style(lettering, Align::Center, VPos::Center);
        style.font = style.font.transform(FontTransform::Rotate270);
        self.area.draw(&Text::new(text.to_owned(), pixel(place), style))
    }

    /// The parts of a path of unit coordinates that lie within `frame`, drawn by `place`.
    pub fn clipped(
        &self,
        path: &[(f64, f64)],
        place: impl Fn((f64, f64)) -> Place,
        stroke: Stroke,
    ) -> Result<(), DrawingError> {
        for part in clip(path) {
            let places: Vec<Place> = part.into_iter().map(&place).collect();
            self.line(&places, stroke)?;
        }
        Ok(())
    }
}

fn pixel((x, y): Place) -> (i32, i32) {
    ((x * PIXELS).round() as i32, (y * PIXELS).round() as i32)
}

fn text_style<'a>(lettering: Lettering, align: Align, vertical: VPos) -> TextStyle<'a> {
    let weight = if lettering.bold { FontStyle::Bold } else { FontStyle::Normal };
    let horizontal = match align {
        Align::Left => HPos::Left,
        Align::Center => HPos::Center,
        Align::Right => HPos::Right,
    };
    let font = (FAMILY, lettering.size * PIXELS * LINE_HEIGHT, weight).into_font();
    let mut style = TextStyle::from(font).pos(Pos::new(horizontal, vertical));
    style.color = lettering.color.to_backend_color();
    style
}

fn register_fonts() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        for (style, font) in
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
        {
            assert!(register_font(FAMILY, style, font).is_ok(), "the carried font is a font");
        }
    });
}

/// The picture of an SVG document, at its inner resolution, as PNG.
pub fn rasterize(svg: &str) -> Result<Vec<u8>, String> {
    static OPTIONS: OnceLock<usvg::Options<'static>> = OnceLock::new();
    let options = OPTIONS.get_or_init(|| {
        let mut fonts = usvg::fontdb::Database::new();
        for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
            fonts.load_font_data(font.to_vec());
        }
        fonts.set_sans_serif_family("DejaVu Sans");
        usvg::Options { fontdb: Arc::new(fonts), ..usvg::Options::default() }
    });
    let tree = usvg::Tree::from_str(svg, options).map_err(|error| error.to_string())?;
    let scale = PIXELS as f32;
    let size = tree.size().to_int_size().scale_by(scale).ok_or("the figure has no size")?;
    let mut picture =
        tiny_skia::Pixmap::new(size.width(), size.height()).ok_or("the figure is too large for a picture")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().map_err(|error| io::Error::other(error).to_string())
}
