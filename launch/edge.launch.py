"""The robot's side: camera, perception and bridge, in one process or in three."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

PACKAGE = 'dedelayed_ros'

# Empty means: as in the parameter file.
OVERRIDES = {
    'input': (('camera',), 'video file, folder of images, /dev/video0, street:SEED, or ros for the topic image_topic'),
    'loop': (('camera',), 'begin a file again at its end: true or false'),
    'mode': (('perception', 'bridge'), 'fused, local, offload or auto'),
    'model': (('perception', 'bridge'), 'model of the zoo, or the path of an entry'),
    'offload_model': (('perception',), 'the same of the model that robot and cloud both run'),
    'reuse': (('perception',), 'calibrated, exact or off'),
    'endpoint': (('perception', 'bridge'), 'where the cloud is: tcp/HOST:PORT'),
}


def arguments() -> list[LaunchDescriptionEntity]:
    """What can be said on the command line; `ros2 launch --show-args` prints it."""
    share = FindPackageShare(PACKAGE)
    return [
        DeclareLaunchArgument('params', default_value=PathJoinSubstitution([share, 'config', 'edge.yaml']),
                              description='parameter file'),
        *(DeclareLaunchArgument(name, default_value='', description=f'{text} (empty: as in the parameter file)')
          for name, (_, text) in OVERRIDES.items()),
        DeclareLaunchArgument('image_topic', default_value='image_raw',
                              description='with input:=ros, the image topic of your camera driver'),
        DeclareLaunchArgument('namespace', default_value='', description='of all nodes'),
        DeclareLaunchArgument('composed', default_value='true', choices=['true', 'false'],
                              description='one process that hands frames over in memory, or three'),
        DeclareLaunchArgument('rviz', default_value='false', choices=['true', 'false'], description='show the masks'),
    ]  # fmt: skip


def nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The processes, once the arguments are known."""
    value = {name: LaunchConfiguration(name).perform(context)
             for name in ('params', 'image_topic', 'namespace', 'composed', 'rviz', *OVERRIDES)}  # fmt: skip
    given: dict[str, dict[str, object]] = {'camera': {}, 'perception': {}, 'bridge': {}}
    for name, (owners, _) in OVERRIDES.items():
        for node in owners if value[name] else ():
            given[node][name] = value[name] == 'true' if name == 'loop' else value[name]
    # A camera driver's own topic replaces the one that the camera node would publish.
    topics = [('image_in', value['image_topic'])]
    if value['input'] == 'ros':
        topics.append(('image_raw', value['image_topic']))
    common = {'package': PACKAGE, 'namespace': value['namespace'], 'remappings': topics, 'output': 'screen'}
    if value['composed'] == 'true':
        # No name: it would rename all three nodes of the process.
        merged = {name: setting for settings in given.values() for name, setting in settings.items()}
        found = [Node(executable='edge', parameters=[value['params'], merged], **common)]
    else:
        found = [
            Node(executable=name, name=name, parameters=[value['params'], settings], **common)
            for name, settings in given.items()
        ]
    if value['rviz'] == 'true':
        layout = PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', 'rviz', 'dedelayed.rviz'])
        found.append(Node(package='rviz2', executable='rviz2', namespace=value['namespace'], arguments=['-d', layout]))
    return found


def generate_launch_description() -> LaunchDescription:
    """For `ros2 launch dedelayed_ros edge.launch.py`."""
    return LaunchDescription([*arguments(), OpaqueFunction(function=nodes)])
