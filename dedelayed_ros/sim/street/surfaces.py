"""The street's GLSL, one fragment stage for each family of surfaces: solid things, facades, foliage, ground.

Mesa's software rasteriser executes both sides of every branch, so that each family has a short program of its own
instead of one program with a material switch. Grain comes out of one tileable noise texture with mip levels: it is
anchored to the surface, and fades with distance without flicker.
"""

from __future__ import annotations

from .shaders import HARD_LIGHT, HEADER, LIGHT, MOTION

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
    float joint = max(smoothstep(0.42 - blur.x, 0.46 + blur.x, edge.x),
                      smoothstep(0.38 - blur.y, 0.44 + blur.y, edge.y));
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
    vec3 colour = albedo * (ambient * low + u_sun_colour * lit)
                + u_sky_side * v_colour.a * (0.06 + 0.1 * glass * above);
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
    float frame = band(q.x, 0.5 - wide - 0.045, 0.5 + wide + 0.045, blur.x)
                * band(q.y, sill - 0.04, head + 0.04, blur.y);
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
    vec3 tint = vec3(hash(house + floor(v_uvw.x / 7.0)), hash(house * 1.7 + floor(v_uvw.x / 7.0)),
                     hash(house * 2.3 + 1.0));
    vec3 albedo = mix(low, trim, max(frame, ledge));
    albedo = mix(albedo, tint * tint * 0.8 + 0.02, sign_strip * 0.85);
    float pane = window;
    albedo = mix(albedo, curtain, pane);
    float lit = sunlight(v_at, normal);
    // a hint of depth: the head of each opening throws a shadow on it
    float inset = band(q.y, head - 0.09, head, blur.y) * frame;
    vec3 colour = shade(albedo, normal, v_at, 0.0, lit * (1.0 - 0.6 * inset)) * (1.0 - 0.35 * inset);
    vec3 mirror = reflect(normalize(v_at - u_eye), normal);
    vec3 seen = mix(u_bounce * 0.5, skylight(normalize(mirror + vec3(0.0, 0.0, 0.25))),
                    clamp(0.55 + mirror.z * 0.6 + (r - 0.5) * 0.7 + (broad.g - 0.5) * 0.35, 0.0, 1.0));
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
// 3 grass, 4 kerb, 5 zebra, 6 cobbles.
uniform int u_line_count;
uniform vec4 u_lines[8];        // across (m), half width (m), period (m, 0: unbroken), drawn share
uniform vec4 u_asphalt;         // rgb, contrast of the grain
uniform vec2 u_paver;           // size of a slab (m)
uniform vec2 u_rails;           // d of two tracks in the road (m)
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
    vec3 base = mix(v_colour.rgb, u_asphalt.rgb, asphalt);
    float grain = (fine.r - 0.5) * (0.5 + 0.9 * grass) + (mid.g - 0.5) * 0.28 + (broad.g - 0.5) * 0.28;
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
    vec2 off = abs(abs(uv.y - u_rails) - 0.72);
    float beside = min(off.x, off.y);
    float groove = 1.0 - smoothstep(0.10, 0.12 + foot, beside);
    float rail = (1.0 - smoothstep(0.035, 0.05 + foot, beside)) * min(1.0, 0.05 / max(foot, 0.001) + 0.3);
    float laid = float(kind < 1.5 || kind > 4.5);
    albedo = mix(albedo, albedo * 0.6, groove * laid);
    albedo = mix(albedo, vec3(0.34, 0.33, 0.32), rail * laid);
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
