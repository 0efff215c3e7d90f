"""The street's GLSL: one vertex stage for everything solid, one fragment stage for each family of surfaces.

Mesa's software rasteriser executes both sides of every branch, so that each family (solid things, facades, foliage,
ground, sky) has a short program of its own instead of one program with a material switch. Grain comes out of one
tileable noise texture with mip levels: it is anchored to the surface, and fades with distance without flicker.

Every program writes two targets: linear light squeezed to 0..1 with the class id in alpha, and the pixel's true motion.
"""

from __future__ import annotations

HEADER = '#version 330 core\n'

LIGHT = """
uniform vec3 u_eye;            // camera position (m)
uniform vec3 u_sun;            // unit vector towards the sun
uniform vec3 u_sun_colour;
uniform vec3 u_sky_up;         // light from above
uniform vec3 u_sky_side;       // light from the horizon, also the colour of the haze
uniform vec3 u_bounce;         // light from the ground
uniform float u_haze;          // 1/m
uniform float u_exposure;
uniform float u_wet;           // 0 dry .. 1 wet
uniform float u_lamps;         // 0 day .. 1 lights are on
uniform vec2 u_size;           // size of the target (px)
uniform sampler2D u_noise;
uniform sampler2DShadow u_shadow;
uniform mat4 u_to_sun;
uniform float u_shadow_depth;  // 0 no shadows .. 1 sun fully hidden

float sunlight(vec3 at, vec3 normal) {
    vec3 q = (u_to_sun * vec4(at + normal * 0.06, 1.0)).xyz * 0.5 + 0.5;
    float inside = step(abs(q.x - 0.5), 0.495) * step(abs(q.y - 0.5), 0.495);
    SHADOW_LOOKUP
    return 1.0 - u_shadow_depth * inside * (1.0 - seen);
}

vec3 skylight(vec3 d) {
    return mix(mix(u_bounce, u_sky_side, smoothstep(-0.25, 0.12, d.z)), u_sky_up, smoothstep(0.05, 0.9, d.z));
}

vec3 shade(vec3 albedo, vec3 normal, vec3 at, float gloss, float lit) {
    vec3 view = normalize(u_eye - at);
    float facing = max(dot(normal, view), 0.0);
    vec3 mirror = reflect(-view, normal);
    float towards = max(dot(normal, u_sun), 0.0) * lit;
    float above = 0.5 + 0.5 * normal.z;
    vec3 ambient = mix(u_bounce, mix(u_sky_side, u_sky_up, 0.5 * above + 0.2), above);
    float low = 0.72 + 0.28 * clamp(at.z * 0.8, 0.0, 1.0);          // things are darker towards the ground
    vec3 colour = albedo * (ambient * low + u_sun_colour * towards);
    float graze = 1.0 - facing;
    float fresnel = gloss * (0.05 + 0.75 * graze * graze * graze * graze);
    float spot = max(dot(mirror, u_sun), 0.0);
    spot *= spot; spot *= spot; spot *= spot; spot *= spot;
    return mix(colour, skylight(mirror) * 0.9, fresnel) + u_sun_colour * (gloss * spot * spot * 1.6 * lit);
}

vec3 film(vec3 c) {            // linear light to display values: a toe, a straight part, a shoulder
    return sqrt(clamp(c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14), 0.0, 1.0));
}

vec4 finish(vec3 colour, vec3 at, float label) {
    float d = length(at - u_eye);
    float clear = exp(-d * u_haze);
    colour = mix(u_sky_side * 0.92, colour, clear) * u_exposure;
    return vec4(film(colour), label / 255.0);
}
"""

HARD_LIGHT = LIGHT.replace('sampler2DShadow', 'sampler2D').replace(
    'SHADOW_LOOKUP',
    'float seen = step(q.z - 0.0012, texelFetch(u_shadow, ivec2(clamp(q.xy, 0.0, 0.999) * 1024.0), 0).r);',
)
"""One sample of the shadow map: enough for things whose shaded parts are small."""

LIGHT = LIGHT.replace('SHADOW_LOOKUP', 'float seen = texture(u_shadow, vec3(q.xy, q.z - 0.0012));')

MOTION = """
vec2 moved(vec3 before) {      // before: clip x, y, w of this surface point one frame ago
    float w = max(before.z, 0.02);
    return gl_FragCoord.xy - (before.xy / w * 0.5 + 0.5) * u_size;
}
"""

VERTEX = (
    HEADER
    + """
uniform mat4 u_clip_now;
uniform mat4 u_clip_before;
in vec3 in_pos;
in vec3 in_normal;
in vec3 in_uvw;
in vec4 in_colour;             // rgb, gloss
in uvec4 in_info;              // class, colour slot, kind, grain
in vec4 now0; in vec4 now1; in vec4 now2;
in vec4 before0; in vec4 before1; in vec4 before2;
in vec4 extent;                // scale of the mesh (m), seed
in vec4 paint_a;               // rgb, class
in vec4 paint_b;               // rgb, how much the lights of this thing are on
out vec3 v_at;
out vec3 v_normal;
out vec3 v_uvw;
out vec3 v_before;
flat out vec4 v_colour;
flat out vec4 v_info;          // class, seed, kind, grain
flat out float v_glow;

void main() {
    vec4 p = vec4(in_pos * extent.xyz, 1.0);
    vec3 at = vec3(dot(now0, p), dot(now1, p), dot(now2, p));
    vec4 was = vec4(dot(before0, p), dot(before1, p), dot(before2, p), 1.0);
    vec3 n = in_normal / extent.xyz;
    v_at = at;
    v_normal = vec3(dot(now0.xyz, n), dot(now1.xyz, n), dot(now2.xyz, n));
    v_uvw = in_uvw * extent.xyz;
    v_before = (u_clip_before * was).xyw;
    float a = float(in_info.y == 1u);
    float b = float(in_info.y == 2u);
    v_colour = vec4(in_colour.rgb * (1.0 - a - b) + paint_a.rgb * a + paint_b.rgb * b, in_colour.a);
    v_info = vec4(in_info.x == 254u ? paint_a.w : float(in_info.x), extent.w, float(in_info.z), float(in_info.w) / 255.0);
    v_glow = paint_b.w;
    gl_Position = u_clip_now * vec4(at, 1.0);
    HOUSE
}
"""
)

_HOUSE = """float house = floor(in_uvw.z + 0.5);
    v_house = vec4(hash(house), hash(house + 3.7), hash(house + 9.1), hash(house + 5.3));
    v_number = vec2(house, hash(house + 1.9));"""

FACADE_VERTEX = VERTEX.replace(
    'void main',
    'flat out vec4 v_house;\nflat out vec2 v_number;\nfloat hash(float x) { return fract(sin(x * 127.1) * 43758.547); }\nvoid main',
).replace('HOUSE', _HOUSE)
"""Facades: what all pixels of a house share is found once a corner."""

VERTEX = VERTEX.replace('    HOUSE\n', '')

INPUTS = """
in vec3 v_at;
in vec3 v_normal;
in vec3 v_uvw;
in vec3 v_before;
flat in vec4 v_colour;
flat in vec4 v_info;
flat in float v_glow;
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_motion;
"""

SOLID = (
    HEADER
    + HARD_LIGHT
    + MOTION
    + INPUTS
    + """
void main() {
    vec3 normal = normalize(v_normal);
    float kind = v_info.z;
    vec3 along = abs(normal);
    vec2 uv = along.z > 0.7 ? v_uvw.xy : vec2(v_uvw.x + v_uvw.y, v_uvw.z);
    uv += v_info.y * 7.31;
    vec4 fine = texture(u_noise, uv * 0.9);
    vec4 broad = texture(u_noise, uv * 0.13 + 0.37);
    float grain = (fine.r - 0.5) * 1.2 + (broad.g - 0.5) * 0.9;
    vec3 albedo = v_colour.rgb * max(1.0 + v_info.w * 2.0 * grain, 0.05);
    // kind 3: courses of brick or planks
    vec2 course = vec2(uv.x * 2.2 + 0.5 * floor(fract(uv.y * 3.5) * 2.0), uv.y * 7.0);
    vec2 edge = abs(fract(course) - 0.5);
    vec2 blur = fwidth(course);
    float joint = max(smoothstep(0.42 - blur.x, 0.46 + blur.x, edge.x), smoothstep(0.38 - blur.y, 0.44 + blur.y, edge.y));
    joint *= clamp(1.4 - 1.6 * max(blur.x, blur.y), 0.0, 1.0) * float(kind == 3.0);
    albedo *= 1.0 - 0.35 * joint;
    float gloss = v_colour.a;
    // kind 1: glass mirrors the street: bright above, dark below
    float glass = float(kind == 1.0);
    float lit = sunlight(v_at, normal);
    vec3 colour = shade(albedo, normal, v_at, gloss, lit);
    vec3 mirror = reflect(normalize(v_at - u_eye), normal);
    vec3 seen = mix(u_bounce * 0.5, skylight(mirror), smoothstep(-0.15, 0.5, mirror.z + (broad.g - 0.5) * 0.4));
    colour = mix(colour, colour * 0.6 + seen * (0.16 + 0.3 * smoothstep(0.2, 0.9, mirror.z)), glass);
    // kind 2: lamps
    float lamp = float(kind == 2.0) * v_glow;
    colour = mix(colour, v_colour.rgb * 2.6, lamp);
    out_colour = finish(colour, v_at, v_info.x);
    out_motion = moved(v_before);
}
"""
)

FAR_SOLID = (
    HEADER
    + HARD_LIGHT
    + MOTION
    + INPUTS
    + """
// Solid things of which a pixel shows no detail.
void main() {
    vec3 normal = normalize(v_normal);
    float glass = float(v_info.z == 1.0);
    vec3 albedo = v_colour.rgb + glass * 0.03;
    float above = 0.5 + 0.5 * normal.z;
    vec3 ambient = mix(u_bounce, mix(u_sky_side, u_sky_up, 0.5 * above + 0.2), above);
    float low = 0.72 + 0.28 * clamp(v_at.z * 0.8, 0.0, 1.0);
    float lit = sunlight(v_at, normal) * max(dot(normal, u_sun), 0.0);
    vec3 colour = albedo * (ambient * low + u_sun_colour * lit) + u_sky_side * v_colour.a * (0.06 + 0.1 * glass * above);
    colour = mix(colour, v_colour.rgb * 2.6, float(v_info.z == 2.0) * v_glow);
    out_colour = finish(colour, v_at, v_info.x);
    out_motion = moved(v_before);
}
"""
)

FACADE = (
    HEADER
    + LIGHT
    + MOTION
    + INPUTS
    + """
flat in vec4 v_house;
flat in vec2 v_number;
// uvw: metres along the wall, metres above the ground, the building's number; kind: style.
float hash(float x) { return fract(sin(x * 127.1) * 43758.547); }
float hash2(vec2 p) { return fract(sin(dot(p, vec2(127.1, 311.7))) * 43758.547); }
float band(float x, float lo, float hi, float blur) {
    return smoothstep(lo - blur, lo + blur, x) * (1.0 - smoothstep(hi - blur, hi + blur, x));
}
void main() {
    vec3 normal = normalize(v_normal);
    float house = v_number.x;
    float h1 = v_house.x, h2 = v_house.y, h3 = v_house.z, h4 = v_house.w, h5 = v_number.y;
    float storey = 2.8 + 1.1 * h1;
    float ground = storey * (1.0 + 0.45 * h5);
    float pitch = 1.3 + 2.4 * h2 * h2 + 0.5 * h4;
    bool shop = v_info.w > 0.5;
    float y = v_uvw.y - ground;
    float upper = step(0.0, y);
    float floor_no = floor(y / storey);
    vec2 cell = vec2(v_uvw.x / pitch, y / storey);
    cell = mix(vec2(v_uvw.x / (pitch * (1.4 + 1.5 * h3)), v_uvw.y / ground), cell, upper);
    vec2 id = floor(cell);
    vec2 q = cell - id;
    vec2 blur = clamp(fwidth(vec2(v_uvw.x / pitch, y / storey)) * 0.6, 0.004, 0.6);
    float far = clamp(1.5 - 2.2 * max(blur.x, blur.y), 0.0, 1.0);
    float wide = mix(0.22 + 0.24 * h3, shop ? 0.44 : 0.3, 1.0 - upper);
    float sill = mix(0.28 - 0.2 * h4, shop ? 0.1 : 0.3, 1.0 - upper);
    float head = mix(0.84, shop ? 0.72 : 0.8, 1.0 - upper);
    if (kind_is_glass(v_info.z)) { wide = 0.46; sill = 0.06; head = 0.95; }
    float frame = band(q.x, 0.5 - wide - 0.045, 0.5 + wide + 0.045, blur.x) * band(q.y, sill - 0.04, head + 0.04, blur.y);
    float window = band(q.x, 0.5 - wide, 0.5 + wide, blur.x) * band(q.y, sill, head, blur.y);
    float bars = h5 > 0.4 ? band(abs(q.x - 0.5), -1.0, 0.022, blur.x) + band(q.y, 0.62, 0.645, blur.y) : 0.0;
    window *= 1.0 - clamp(bars, 0.0, 1.0) * 0.8;
    float ledge = upper * band(q.y, -0.01, 0.05 + 0.05 * h2, blur.y) * step(0.35, h4);
    float sign_strip = shop ? (1.0 - upper) * band(q.y, 0.78, 0.96, blur.y) : 0.0;

    vec4 fine = texture(u_noise, v_uvw.xy * vec2(0.5, 0.5) + house);
    vec4 broad = texture(u_noise, v_uvw.xy * vec2(0.07, 0.035) + house * 0.31);
    vec2 course = vec2(v_uvw.x * 3.0 + 0.5 * mod(floor(v_uvw.y * 8.0), 2.0), v_uvw.y * 8.0);
    vec2 edge = abs(fract(course) - 0.5);
    vec2 cb = fwidth(course);
    float joint = max(smoothstep(0.4, 0.46, edge.x), smoothstep(0.34, 0.44, edge.y));
    joint *= clamp(1.3 - 1.5 * max(cb.x, cb.y), 0.0, 1.0) * step(0.5, h3);
    vec3 wall = v_colour.rgb * (1.0 + (fine.r - 0.5) * 0.35 + (broad.g - 0.5) * 0.4);
    wall *= 1.0 - 0.25 * joint;
    wall *= 0.82 + 0.18 * smoothstep(0.0, 2.5, v_uvw.y) ;
    vec3 low = mix(wall, wall * (0.5 + h1 * 0.7), (1.0 - upper) * step(0.4, h2));
    vec3 trim = mix(wall * 1.25, vec3(0.55 * h5 + 0.12), 0.6);
    float r = hash2(id + house);
    vec3 curtain = mix(vec3(0.03, 0.035, 0.04), vec3(0.4, 0.37, 0.32), step(0.72, r) * step(q.y, 0.4 + r * 0.5));
    vec3 tint = vec3(hash(house + floor(v_uvw.x / 7.0)), hash(house * 1.7 + floor(v_uvw.x / 7.0)), hash(house * 2.3 + 1.0));
    vec3 albedo = mix(low, trim, max(frame, ledge));
    albedo = mix(albedo, tint * tint * 0.8 + 0.02, sign_strip * 0.85);
    float pane = window;
    albedo = mix(albedo, curtain, pane);
    float lit = sunlight(v_at, normal);
    // a hint of depth: the head of each opening throws a shadow on it
    float inset = band(q.y, head - 0.09, head, blur.y) * frame;
    vec3 colour = shade(albedo, normal, v_at, 0.0, lit * (1.0 - 0.6 * inset)) * (1.0 - 0.35 * inset);
    vec3 mirror = reflect(normalize(v_at - u_eye), normal);
    vec3 seen = mix(u_bounce * 0.5, skylight(normalize(mirror + vec3(0.0, 0.0, 0.25))), clamp(0.55 + mirror.z * 0.6 + (r - 0.5) * 0.7 + (broad.g - 0.5) * 0.35, 0.0, 1.0));
    float graze = 1.0 - abs(dot(normal, normalize(u_eye - v_at)));
    colour += pane * seen * (0.1 + 0.35 * graze * graze + 0.2 * r);
    float lamp = u_lamps * step(0.6, hash2(id * 1.3 + house)) + u_lamps * (1.0 - upper) * float(shop) * 0.8;
    colour += pane * lamp * vec3(1.0, 0.72, 0.4) * (0.4 + 0.5 * r);
    vec3 flat_colour = shade(mix(wall, curtain, 0.35), normal, v_at, 0.0, lit);
    colour = mix(flat_colour, colour, far);
    out_colour = finish(colour, v_at, v_info.x);
    out_motion = moved(v_before);
}
""".replace('void main() {', 'bool kind_is_glass(float kind) { return kind == 1.0; }\nvoid main() {')
)

FOLIAGE = (
    HEADER
    + HARD_LIGHT
    + MOTION
    + INPUTS
    + """
// Lumpy shells; leaves at the rim are cut out by noise that is anchored to the plant. grain: how ragged.
void main() {
    vec3 normal = normalize(v_normal);
    vec3 view = normalize(u_eye - v_at);
    float facing = dot(normal, view);
    float d = length(u_eye - v_at);
    vec2 a = v_uvw.xz + v_uvw.yy * vec2(0.61, 0.37);
    vec2 b = v_uvw.yx + v_uvw.zz * vec2(-0.43, 0.71);
    vec4 n = texture(u_noise, a * 0.55);
    vec4 m = texture(u_noise, b * 1.3 + 0.2);
    vec4 l = texture(u_noise, b * 0.17);
    float leaf = n.b * 0.6 + m.b * 0.4;
    float cut = abs(facing) * 1.15 + (leaf - 0.5) * 2.4 - 0.30 * v_info.w * 2.0;
    if (cut < 0.0) discard;
    float inner = clamp(0.5 + (leaf - 0.45) * 2.6, 0.0, 1.0);
    vec3 albedo = v_colour.rgb * (0.35 + 0.95 * inner) * (0.8 + 0.5 * l.g);
    albedo = mix(albedo, albedo.grb * vec3(1.0, 0.8, 0.7), 0.22 * m.r);
    normal = normalize(normal + (vec3(n.r, m.r, n.g) - 0.5) * 1.6);
    normal.z = abs(normal.z) * 0.6 + normal.z * 0.4;
    float lit = mix(1.0, sunlight(v_at + view * 0.5, normal), 0.75);
    vec3 colour = shade(albedo, normalize(normal), v_at, 0.03, lit) * (0.45 + 0.65 * inner);
    colour += albedo * u_sun_colour * 0.18 * max(-dot(view, u_sun), 0.0) * inner;    // light through the leaves
    out_colour = finish(colour, v_at, v_info.x);
    out_motion = moved(v_before);
}
"""
)

GROUND = (
    HEADER
    + LIGHT
    + MOTION
    + INPUTS
    + """
// uvw: metres along the street, metres across (left of the middle), bend-free; kind: 0 lanes, 1 plain asphalt, 2 slabs,
// 3 grass, 4 kerb, 5 zebra, 6 cobbles, 7 gravel with rails.
uniform int u_line_count;
uniform vec4 u_lines[8];        // across (m), half width (m), period (m, 0: unbroken), drawn share
uniform vec4 u_asphalt;         // rgb, contrast of the grain
uniform vec2 u_paver;           // size of a slab (m)
uniform float u_rails;          // d of a track in the road (m), 0: none
uniform float u_paint;          // how white the paint is
void main() {
    vec3 normal = normalize(v_normal);
    float kind = v_info.z;
    vec2 uv = v_uvw.xy;
    vec4 fine = texture(u_noise, uv * 0.83, -0.7);
    vec4 mid = texture(u_noise, uv * vec2(0.11, 0.19) + 0.4, -0.5);
    vec4 broad = texture(u_noise, uv * vec2(0.017, 0.06) + 0.1);
    float asphalt = float(kind < 1.5 || kind == 5.0);
    float slabs = float(kind == 2.0 || kind == 6.0);
    float grass = float(kind == 3.0);
    float gravel = float(kind == 7.0);
    vec3 base = mix(v_colour.rgb, u_asphalt.rgb, asphalt);
    float grain = (fine.r - 0.5) * (0.5 + 0.9 * grass + 0.7 * gravel) + (mid.g - 0.5) * 0.28 + (broad.g - 0.5) * 0.28;
    vec3 albedo = base * max(1.0 + grain * mix(1.0, u_asphalt.w, asphalt), 0.1);
    // patches, cracks and wheel tracks
    float patched = smoothstep(0.60, 0.62, texture(u_noise, uv * vec2(0.012, 0.045) + 0.71).a);
    albedo *= 1.0 - asphalt * 0.22 * patched;
    float crack = smoothstep(0.018, 0.0, abs(mid.a - 0.5)) * smoothstep(0.5, 0.7, broad.r);
    albedo *= 1.0 - 0.4 * crack * (asphalt + 0.5 * slabs);
    // slabs and cobbles
    vec2 size = kind == 6.0 ? vec2(0.16, 0.12) : u_paver;
    vec2 cell = uv / size; cell.x += 0.5 * mod(floor(cell.y), 2.0);
    vec2 edge = abs(fract(cell) - 0.5), blur = fwidth(cell);
    vec2 line = smoothstep(0.5 - 0.012 / size - blur * 0.7, vec2(0.5), edge);
    float near = clamp(1.25 - max(blur.x, blur.y) * 1.3, 0.0, 1.0);
    float tone = fract(sin(dot(floor(cell), vec2(12.98, 78.23))) * 43758.5) - 0.5;
    albedo *= 1.0 + slabs * near * (0.22 * tone - 0.45 * max(line.x, line.y));
    // grass: two greens and dry spots
    albedo = mix(albedo, albedo * mix(vec3(1.5, 1.2, 0.7), vec3(0.7, 0.95, 0.8), smoothstep(0.35, 0.65, mid.b)), grass);
    // paint
    float painted = 0.0;
    float foot = fwidth(uv.y) * 0.6;
    for (int i = 0; i < u_line_count; i++) {
        vec4 l = u_lines[i];
        float across = 1.0 - smoothstep(l.y - foot, l.y + foot, abs(uv.y - l.x));
        float on = l.z > 0.0 ? step(fract(uv.x / max(l.z, 0.1)), l.w) : 1.0;
        painted = max(painted, across * on * min(1.0, l.y / max(foot, 0.001) * 0.9 + 0.15));
    }
    painted *= float(kind == 0.0);
    float bars = fract(uv.y * 1.0);
    float bb = clamp(fwidth(uv.y) * 0.7, 0.01, 0.5);
    float zebra = smoothstep(0.25 - bb, 0.25 + bb, abs(bars - 0.5)) * float(kind == 5.0);
    painted = max(painted, mix(zebra, 0.5 * float(kind == 5.0), clamp(bb * 2.5 - 0.2, 0.0, 1.0)));
    painted *= 0.45 + 0.55 * smoothstep(0.32, 0.5, fine.a * 0.5 + mid.r * 0.5);
    albedo = mix(albedo, vec3(u_paint), painted * 0.9);
    // rails
    float rail = smoothstep(0.05, 0.03, abs(abs(uv.y - u_rails) - 0.72));
    float sleeper = gravel * step(abs(fract(uv.x / 0.65) - 0.5), 0.18) * step(abs(uv.y - u_rails), 1.25) * clamp(1.2 - fwidth(uv.x) * 2.0, 0.0, 1.0);
    albedo = mix(albedo, albedo * 0.55 + 0.02, sleeper * 0.7);
    albedo = mix(albedo, vec3(0.24, 0.22, 0.21), rail * float(u_rails != 0.0 && kind < 1.5));
    // water
    float puddle = u_wet * smoothstep(0.62 - 0.25 * u_wet, 0.72, broad.g * 0.6 + mid.r * 0.4) * (1.0 - grass);
    float wet = u_wet * (1.0 - 0.6 * grass);
    albedo *= 1.0 - 0.45 * wet;
    normal = normalize(normal + vec3(fine.r - 0.5, fine.g - 0.5, 0.0) * mix(0.28, 0.03, max(puddle, 0.5 * wet)));
    float lit = sunlight(v_at, vec3(0.0, 0.0, 1.0));
    vec3 colour = shade(albedo, normal, v_at, 0.05 + 0.5 * wet + 0.42 * puddle, lit);
    out_colour = finish(colour, v_at, v_info.x);
    out_motion = moved(v_before);
}
"""
)

SKY_VERTEX = (
    HEADER
    + """
uniform mat4 u_rays;           // clip to world direction
in vec2 in_pos;
out vec3 v_ray;
void main() {
    vec4 far = u_rays * vec4(in_pos, 1.0, 1.0);
    v_ray = far.xyz;
    gl_Position = vec4(in_pos, 1.0, 1.0);
}
"""
)

SKY = (
    HEADER
    + LIGHT
    + MOTION
    + """
uniform mat4 u_turn_before;    // world direction to clip, one frame ago
uniform vec4 u_cloud;          // cover, offset, offset, softness
in vec3 v_ray;
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_motion;
void main() {
    vec3 d = normalize(v_ray);
    float h = max(d.z, 0.0);
    vec3 colour = mix(u_sky_side, u_sky_up, 1.0 - exp(-h * 3.2));
    vec2 q = d.xy / (h + 0.16);
    float n = texture(u_noise, q * 0.035 + u_cloud.yz).g * 0.62 + texture(u_noise, q * 0.11 + u_cloud.zy).g * 0.28
            + texture(u_noise, q * 0.4 + u_cloud.yz).r * 0.10;
    float cover = smoothstep(0.62 - u_cloud.x * 0.42, 0.62 - u_cloud.x * 0.42 + u_cloud.w, n);
    float thick = smoothstep(0.45, 0.85, n);
    vec3 cloud = mix(u_sky_side * 1.25 + u_sun_colour * 0.12, u_sky_side * 0.62, thick);
    colour = mix(colour, cloud, cover * smoothstep(-0.02, 0.12, d.z) * 0.92);
    float s = max(dot(d, u_sun), 0.0);
    colour += u_sun_colour * (0.12 * pow(s, 6.0) + 0.9 * pow(s, 180.0)) * (1.0 - 0.7 * cover);
    colour = mix(u_sky_side, colour, smoothstep(-0.01, 0.08, d.z));
    colour *= u_exposure;
    out_colour = vec4(film(colour), 10.0 / 255.0);
    out_motion = moved((u_turn_before * vec4(d, 0.0)).xyw);
}
"""
)

DEPTH_VERTEX = (
    HEADER
    + """
uniform mat4 u_to_sun;
in vec3 in_pos;
in vec4 now0; in vec4 now1; in vec4 now2;
in vec4 extent;
void main() {
    vec4 p = vec4(in_pos * extent.xyz, 1.0);
    gl_Position = u_to_sun * vec4(dot(now0, p), dot(now1, p), dot(now2, p), 1.0);
}
"""
)

DEPTH = HEADER + 'void main() {}\n'

FULL_VERTEX = (
    HEADER
    + """
in vec2 in_pos;
void main() { gl_Position = vec4(in_pos, 0.0, 1.0); }
"""
)

DEVELOP = (
    HEADER
    + """
// From 4 samples a pixel to the picture of a camera: light is averaged; the label is that of most samples, and the
// motion is taken from a sample that carries this label. Nothing is blended across an edge.
uniform sampler2DMS u_light;
uniform sampler2DMS u_motion;
uniform ivec2 u_shape;
uniform vec3 u_cast;
uniform vec4 u_tone;           // contrast, saturation, black, vignette
uniform vec4 u_sensor;         // noise, blur, frame number, noise of dark parts
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_motion;
float hash(uvec3 v) {
    v = v * 1664525u + 1013904223u;
    v.x += v.y * v.z; v.y += v.z * v.x; v.z += v.x * v.y;
    v ^= v >> 16u;
    v.x += v.y * v.z;
    return float(v.x & 0xffffu) / 65535.0;
}
void main() {
    ivec2 p = ivec2(gl_FragCoord.xy);
    ivec2 last = u_shape - 1;
    vec4 a = texelFetch(u_light, p, 0);
    vec4 b = texelFetch(u_light, p, 1);
    vec4 c = texelFetch(u_light, p, 2);
    vec4 d = texelFetch(u_light, p, 3);
    vec4 l = vec4(a.a, b.a, c.a, d.a);
    vec3 votes = vec3(float(l.x == l.y) + float(l.x == l.z) + float(l.x == l.w),
                 float(l.y == l.x) + float(l.y == l.z) + float(l.y == l.w),
                 float(l.z == l.x) + float(l.z == l.y) + float(l.z == l.w));
    int pick = 0;
    float label = l.x, best = votes.x;
    if (votes.y > best) { best = votes.y; label = l.y; pick = 1; }
    if (votes.z > best) { best = votes.z; label = l.z; pick = 2; }
    vec3 mean = (a.rgb + b.rgb + c.rgb + d.rgb) * 0.25;
    vec3 around = (texelFetch(u_light, clamp(p + ivec2(-1, 0), ivec2(0), last), 1).rgb
                 + texelFetch(u_light, clamp(p + ivec2(1, 0), ivec2(0), last), 2).rgb
                 + texelFetch(u_light, clamp(p + ivec2(0, -1), ivec2(0), last), 3).rgb
                 + texelFetch(u_light, clamp(p + ivec2(0, 1), ivec2(0), last), 0).rgb) * 0.25;
    vec3 colour = mix(mean, around, u_sensor.y);
    vec2 r = gl_FragCoord.xy / vec2(u_shape) * 2.0 - 1.0;
    colour *= (1.0 - u_tone.w * dot(r, r) * 0.5) * u_cast;
    float grey = dot(colour, vec3(0.3, 0.59, 0.11));
    colour = mix(vec3(grey), colour, u_tone.y);
    colour = (colour - 0.45) * u_tone.x + 0.45 + u_tone.z;
    uvec3 key = uvec3(uvec2(gl_FragCoord.xy), uint(u_sensor.z));
    vec3 noise = vec3(hash(key), hash(key + 71u), hash(key + 193u)) + vec3(hash(key + 311u), hash(key + 533u), hash(key + 877u)) - 1.0;
    colour += (noise * 0.6 + (noise.x + noise.y + noise.z) * 0.2) * (u_sensor.x + u_sensor.w * (1.0 - grey) * (1.0 - grey));
    out_colour = vec4(clamp(colour, 0.0, 1.0), label);
    out_motion = texelFetch(u_motion, p, pick).xy;
}
"""
)
